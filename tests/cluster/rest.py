"""What the daemons tell about themselves over HTTP: JMX beans, and the resource manager's web API."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

#: No proxy of the environment may come between us and loopback.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def get(url: str) -> Any:
    """JSON from a URL. Raises ``OSError`` when nobody answers, or answers with an error."""
    return _answer(urllib.request.Request(url, headers={"Accept": "application/json"}))


def put(url: str, body: dict | None = None) -> Any:
    """JSON to a URL, and its answer."""
    return _answer(urllib.request.Request(url, json.dumps(body or {}).encode(),
                                          {"Content-Type": "application/json"}, method="PUT"))


def _answer(request: urllib.request.Request) -> Any:
    try:
        with _open(request, timeout=10) as response:
            text = response.read()
    except urllib.error.HTTPError as error:
        with error:
            raise OSError(f"{request.full_url}: {error}: {error.read(2000).decode()}") from None
    return json.loads(text) if text else None


def bean(address: str, name: str) -> dict[str, Any]:
    """A JMX bean of the daemon whose web server has an address, ``Hadoop:service=X,name=Y``."""
    query = urllib.parse.urlencode({"qry": f"Hadoop:{name}"})
    found = get(f"http://{address}/jmx?{query}")["beans"]
    return found[0] if found else {}


class ResourceManager:
    """The web API at ``http://ADDRESS/ws/v1/cluster``; returns its JSON objects as they are."""

    def __init__(self, address: str) -> None:
        self.address = address

    def _get(self, path: str, *keys: str) -> Any:
        """What is under the keys, or an empty list where a collection is null."""
        found = get(f"http://{self.address}/ws/v1/cluster/{path}")
        for key in keys:
            found = found.get(key) if found else None
        return [] if found is None else found

    def metrics(self) -> dict[str, Any]:
        """``appsRunning``, ``allocatedMB``, ``containersAllocated``, ``activeNodes`` and others."""
        return self._get("metrics", "clusterMetrics")

    def nodes(self) -> list[dict[str, Any]]:
        """``id``, ``state``, ``nodeHostName``, ``nodeHTTPAddress``, ``numContainers`` and others."""
        return self._get("nodes", "nodes", "node")

    def applications(self, states: str = "") -> list[dict[str, Any]]:
        """Those in some states, by commas, or all; the newest last."""
        found = self._get(f"apps?states={states}" if states else "apps", "apps", "app")
        return sorted(found, key=lambda each: each["id"])

    def application(self, id: str) -> dict[str, Any]:
        """``name``, ``state``, ``finalStatus``, ``diagnostics``, ``trackingUrl`` and others."""
        return self._get(f"apps/{id}", "app")

    def attempts(self, id: str) -> list[dict[str, Any]]:
        """Attempts of the application master, with ``containerId`` and ``nodeId``."""
        return self._get(f"apps/{id}/appattempts", "appAttempts", "appAttempt")

    def containers(self, id: str) -> list[dict[str, Any]]:
        """Running containers of an application: ``containerId``, ``nodeId``; the master's too.

        From the nodes, which know of a container from its start to its end.
        """
        part, found = id.removeprefix("application_"), []
        for node in self.nodes():
            if node["state"] == "RUNNING":
                answer = get(f"http://{node['nodeHTTPAddress']}/ws/v1/node/containers")
                found += [{**each, "containerId": each["id"], "nodeId": node["id"]}
                          for each in (answer["containers"] or {}).get("container", [])
                          if part in each["id"] and each["state"] == "RUNNING"]
        return found

    def job(self, id: str, path: str = "") -> dict[str, Any]:
        """The application master's own answer about its running job, such as ``/tasks``."""
        job = id.replace("application", "job")
        return get(f"http://{self.address}/proxy/{id}/ws/v1/mapreduce/jobs/{job}{path}")

    def kill(self, id: str, user: str) -> None:
        put(f"http://{self.address}/ws/v1/cluster/apps/{id}/state?user.name={user}",
            {"state": "KILLED"})
