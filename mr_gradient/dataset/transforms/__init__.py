"""From raw columns to features: statistics that merge, transforms fitted from them, and the plan.

``spec`` is what the user asks for, ``statistics`` what a pass over the data counts, ``plan`` what
the two give: the same numbers from raw input in preparation, evaluation and prediction.
"""
