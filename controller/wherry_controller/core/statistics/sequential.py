"""One sample of successes and failures: are there more failures than tolerated?

Rules:
1. The null hypothesis is "each result fails with a chance of at most `tolerated`, given all
   results before it". The evidence may be looked at after every result.
2. Evidence is the likelihood ratio against `tolerated`, averaged over the chances p above it with
   the weights of a Beta(1/2, 4) that is cut off below `tolerated`. Each such ratio has a mean of
   at most 1 per step for every chance up to `tolerated` (it rises with p only), so the average
   is an e-process (Robbins 1970, "Statistical methods related to the law of the iterated
   logarithm"; Ville 1939; Howard, Ramdas, McAuliffe & Sekhon 2021).
3. The average has a closed form: with k failures of n and t tolerated,

       B(a + k, b + n - k) P(Beta(a + k, b + n - k) > t)  /  B(a, b) P(Beta(a, b) > t)
       ---------------------------------------------------------------------------------
                                   t^k (1 - t)^(n - k)

Why 1/2 and 4: nearly even over the logarithm of p, as who does not know how bad it is would
weigh, and light above one half. At 2 % tolerated it stops a true 30 % after 9 results in the
median, 10 % after about 60 and 4 % after about 700 (`bench/gates.py`); cutting at `tolerated`
spends nothing on chances that are no breach.

    >>> excess_evidence(failures=3, results=9, tolerated=0.02) > 100
    True
"""

from functools import lru_cache
from math import exp, log, log1p
from typing import Final

from wherry_controller.core.statistics.beta import log_beta, log_tail

A: Final = 0.5
B: Final = 4.0
LOG_MAX: Final = 690.0  # evidence beyond e^690 is not told apart


@lru_cache(maxsize=1024)
def excess_evidence(failures: int, results: int, tolerated: float) -> float:
    """The e-value against "at most `tolerated` fail"; 1 at the start, at most e^690.

    Raises ValueError unless 0 <= failures <= results and 0 < tolerated < 1.
    """
    if not 0 <= failures <= results or not 0.0 < tolerated < 1.0:
        raise ValueError(f"{failures} failures of {results}, tolerated {tolerated}")
    good = results - failures
    weighed = log_beta(A + failures, B + good) + log_tail(tolerated, A + failures, B + good)
    weights = log_beta(A, B) + log_tail(tolerated, A, B)
    null = failures * log(tolerated) + good * log1p(-tolerated)
    return exp(max(min(weighed - weights - null, LOG_MAX), -LOG_MAX))
