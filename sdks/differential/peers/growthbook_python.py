"""Answers pairs with the Python package `growthbook`, a line of JSON each.

In: {payload, attributes, url, forcedVariations, forcedFeatures, sticky, qaMode, enabled, only}.
Out: {feature: {value, source, variationId, inExperiment} | {error}}.
"""

import json
import logging
import sys

from growthbook import GrowthBook, InMemoryStickyBucketService

logging.disable(logging.CRITICAL)


def answer(pair):
    payload, sticky = pair["payload"], None
    if pair.get("sticky") is not None:
        sticky = InMemoryStickyBucketService()
        for document in pair["sticky"].values():
            sticky.save_assignments(document)

    def evaluate(key):
        growthbook = GrowthBook(
            attributes=pair.get("attributes"), features=payload.get("features"), saved_groups=payload.get("savedGroups"),
            contextual_bandits=payload.get("contextualBandits"), url=pair.get("url") or "", qa_mode=bool(pair.get("qaMode")),
            enabled=pair.get("enabled") is not False, forced_variations=pair.get("forcedVariations"),
            forced_features=pair.get("forcedFeatures"), sticky_bucket_service=sticky)
        result = growthbook.eval_feature(key)
        experiment = result.experimentResult
        return {
            "value": result.value, "source": result.source,
            "variationId": experiment and experiment.variationId, "inExperiment": experiment and experiment.inExperiment,
        }

    answers = {}
    for key in [pair["only"]] if pair.get("only") is not None else payload["features"]:
        try:
            answers[key] = evaluate(key)
        except Exception as error:  # Whatever a user of the package would see.
            answers[key] = {"error": type(error).__name__}
    return answers


sys.stdin.reconfigure(errors="surrogatepass")
for line in sys.stdin:
    # A lone surrogate is a character in JavaScript; here it cannot be written as UTF-8, so the answer is ASCII.
    print(json.dumps(answer(json.loads(line))), flush=True)
