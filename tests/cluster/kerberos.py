"""Kerberos for a cluster of the tests: a key distribution centre on loopback, and what uses it.

Needs Debian's packages krb5-kdc, krb5-admin-server and krb5-user, or the like.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from cluster import configuration
from cluster.hadoop import HadoopCluster
from cluster.options import Options
from cluster.ports import Ports

REALM = "MR-GRADIENT.TEST"
#: All daemons are one principal, and their web pages another.
_DAEMONS, _WEB = f"{configuration.SUPERUSER}/localhost", "HTTP/localhost"
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
_PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit")

_CLIENT = """\
[libdefaults]
    default_realm = {realm}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    rdns = false
    udp_preference_limit = 1
[realms]
    {realm} = {{
        kdc = {address}
    }}
"""
_SERVER = """\
[kdcdefaults]
    kdc_listen = {address}
    kdc_tcp_listen = {address}
[realms]
    {realm} = {{
        database_name = {folder}/principals
        key_stash_file = {folder}/stash
        max_life = 10h
        supported_enctypes = aes256-cts-hmac-sha1-96:normal
    }}
"""


def why_not() -> str:
    """Why there can be no Kerberos here, or an empty string."""
    missing = [each for each in _PROGRAMS if shutil.which(each, path=_PATH) is None]
    return (f"Kerberos needs {', '.join(missing)}: on Debian 'apt-get install krb5-kdc "
            "krb5-admin-server krb5-user'") if missing else ""


class KeyDistributionCentre:
    """Runs until ``close``; its files are in ``folder``, which is made."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self._ports = folder, Ports()
        values = {"realm": REALM, "folder": folder, "address": self._ports.address("kdc")}
        (folder / "krb5.conf").write_text(_CLIENT.format(**values))
        (folder / "kdc.conf").write_text(_SERVER.format(**values))
        self.environment = {"KRB5_CONFIG": str(folder / "krb5.conf")}
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "a password of the tests")
        self._process = subprocess.Popen(
            [shutil.which("krb5kdc", path=_PATH), "-n", "-r", REALM], env=self._server_environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.daemons = self.keytab(_DAEMONS, _WEB)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._ports.close()

    def keytab(self, *principals: str) -> Path:
        """The keys of principals, which are made, in one file."""
        path = self.folder / f"{principals[0].replace('/', '-')}.keytab"
        for each in principals:
            self._run("kadmin.local", "-r", REALM, "addprinc", "-randkey", each)
            self._run("kadmin.local", "-r", REALM, "ktadd", "-k", path, each)
        return path

    def ticket(self, principal: str, keytab: Path) -> dict[str, str]:
        """Sign in; returns the variables of whoever has signed in."""
        cache = self.folder / f"{principal.replace('/', '-')}.cache"
        end = time.monotonic() + 20
        while True:
            done = subprocess.run(
                [shutil.which("kinit", path=_PATH), "-c", cache, "-k", "-t", keytab, principal],
                env={**os.environ, **self.environment}, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return {**self.environment, "KRB5CCNAME": f"FILE:{cache}"}
            if time.monotonic() > end:
                raise RuntimeError(f"kinit {principal}: {done.stderr}")
            time.sleep(0.1)  # it may not listen yet

    def options(self, **fields: object) -> Options:
        """Of a cluster that asks everybody for a ticket or a token."""
        keytab, principal = str(self.daemons), f"{_DAEMONS}@{REALM}"
        hdfs = ("dfs.namenode", "dfs.datanode")
        yarn = ("yarn.resourcemanager", "yarn.nodemanager")
        java = f"-Djava.security.krb5.conf={self.folder}/krb5.conf"
        return Options(java=(java,), **fields, properties={
            "hadoop.security.authentication": "kerberos", "hadoop.security.authorization": "true",
            "dfs.block.access.token.enable": "true",
            # Data nodes on ports of ordinary users, as where TLS protects them.
            "ignore.secure.ports.for.testing": "true",
            # Who says no more than a name is let in over HTTP otherwise.
            "hadoop.http.authentication.type": "kerberos",
            **{f"{prefix}.authentication.kerberos.{name}": value
               for prefix in ("hadoop.http", "dfs.web")
               for name, value in (("principal", f"{_WEB}@{REALM}"), ("keytab", keytab))},
            **{f"{daemon}.kerberos.principal": principal for daemon in hdfs},
            **{f"{daemon}.keytab.file": keytab for daemon in hdfs},
            **{f"{daemon}.principal": principal for daemon in yarn},
            **{f"{daemon}.keytab": keytab for daemon in yarn},
            # No history server, so nobody is to ask it for a token.
            "mapreduce.jobhistory.address": ""})

    @property
    def _server_environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment, "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf")}

    def _run(self, program: str, *arguments: object) -> None:
        done = subprocess.run([shutil.which(program, path=_PATH), *map(str, arguments)],
                              env=self._server_environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{program}: status {done.returncode}: {done.stderr}")


class SecureCluster(HadoopCluster):
    """A cluster with Kerberos. Its clients have no ticket, unless ``environment`` is given one's."""

    def __init__(self, centre: KeyDistributionCentre, **fields: object) -> None:
        self.centre = centre
        super().__init__(centre.options(history=False, **fields))

    def environment(self, **changes: str) -> dict[str, str]:
        none = {"KRB5CCNAME": f"FILE:{self.centre.folder}/none"}
        return super().environment(**{**self.centre.environment, **none, **changes})

    def run_as(self, ticket: dict[str, str], *arguments: object) -> str:
        """``hadoop ARGUMENTS`` with a ticket; returns its stdout."""
        done = subprocess.run([self.folder / "bin" / "hadoop", *map(str, arguments)], check=False,
                              env=self.environment(**ticket), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"hadoop {arguments}: status {done.returncode}\n{done.stderr}")
        return done.stdout

    def name_node(self, bean: str = "FSNamesystemState") -> dict[str, Any]:
        """No more of the bean than the number of live data nodes, by the client: over HTTP the
        administrator would have to sign in."""
        try:
            said = self.run_as(self._administrator, "dfsadmin", "-report")
        except RuntimeError as error:
            raise OSError(str(error)) from None  # not yet
        return {"NumLiveDataNodes": int((re.findall(r"Live datanodes \((\d+)\)", said) or [0])[0])}

    @property
    def _administrator(self) -> dict[str, str]:
        return self.centre.ticket(_DAEMONS, self.centre.daemons)

    def _make_folders(self) -> bool:
        self.name_node()
        ticket = self._administrator
        self.run_as(ticket, "dfsadmin", "-safemode", "wait")
        folders = configuration.hdfs_folders(self.options.user)
        self.run_as(ticket, "fs", "-mkdir", "-p", *(path for path, _, _ in folders))
        public = [path for path, _, mode in folders if mode == "1777"]
        self.run_as(ticket, "fs", "-chmod", "1777", *public)
        self.run_as(ticket, "fs", "-chown", self.options.user, f"/user/{self.options.user}")
        return True
