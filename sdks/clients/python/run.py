"""Runs every check of the Python clients and prints one line for each: client, check, result. By scripts/test-sdks.sh."""

import logging
import os
import signal
import subprocess
import sys
import time
import traceback

import growthbook.growthbook
from growthbook import GrowthBook
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from pathlib import Path
from server import ENCRYPTION_KEY, Edge, equal, units, until

# Its streams say on the log that a server was stopped, which is what the checks do.
logging.disable(logging.CRITICAL)


def assignments(client_key, **options):
    edge = Edge()
    growthbook.growthbook.feature_repo.clear_cache()
    every = units(1000)
    gb = GrowthBook(api_host=edge.url, client_key=client_key, **options)
    gb.load_features()
    for unit, expected in zip(every, edge.expected(every)):
        gb.set_attributes(unit)
        for key, answer in expected.items():
            found, result = gb.eval_feature(key), answer["result"]
            equal((found.value, found.source), (result["value"], result["source"]), f"{unit['id']}, {key}")
    gb.destroy()
    edge.end()
    return f"{len(every)} units × {len(expected)} flags equal"


def fetch():
    return assignments("sdk-plain")


def encrypted():
    return assignments("sdk-encrypted", decryption_key=ENCRYPTION_KEY)


def exposures():
    edge = Edge()
    growthbook.growthbook.feature_repo.clear_cache()
    every, seen = units(300), set()
    gb = GrowthBook(
        api_host=edge.url,
        client_key="sdk-plain",
        on_experiment_viewed=lambda experiment, result, *_, **__: seen.add((experiment.key, result.key, result.hashValue)),
    )
    gb.load_features()
    wanted = set()
    for unit, expected in zip(every, edge.expected(every)):
        gb.set_attributes(unit)
        for key, answer in expected.items():
            gb.eval_feature(key)
            wanted |= {(experiment["key"], result["key"], result["hashValue"]) for experiment, result in answer["exposures"]}
    equal(seen, wanted, "exposures")
    gb.destroy()
    edge.end()
    return f"{len(seen)} exposures equal"


def streaming():
    edge = Edge()
    growthbook.growthbook.feature_repo.clear_cache()
    gb = GrowthBook(api_host=edge.url, client_key="sdk-plain", streaming=True)
    motd = lambda: gb.get_feature_value("motd", "none")  # noqa: E731
    until("the stream", lambda: "montauk_flag_streams_open 1\n" in edge.metrics())
    took = []
    for i in range(20):
        time.sleep(i * 61.8 % 250 / 1000)
        expected = edge.publish()
        until(expected, lambda: motd() == expected)
        took.append(time.monotonic() - edge.published_at)
    back = []
    for how in (signal.SIGTERM, signal.SIGKILL):
        edge.stop(how)
        expected = edge.publish()
        edge.start()
        began = time.monotonic()
        until(f"an update after {how.name}", lambda: motd() == expected)
        back.append(f"{time.monotonic() - began:.1f} s after {how.name}")
        until("the stream", lambda: "montauk_flag_streams_open 1\n" in edge.metrics())
    gb.stop_auto_refresh()
    edge.end()
    took.sort()
    return f"p50 {took[9] * 1000:.0f} ms, most {took[19] * 1000:.0f} ms; back {', '.join(back)}"


def remote():
    edge = Edge()
    growthbook.growthbook.feature_repo.clear_cache()
    every = units(100)
    gb = GrowthBook(api_host=edge.url, client_key="sdk-remote", remote_eval=True, attributes=every[0], cache_ttl=0)
    for unit, expected in zip(every, edge.expected(every)):
        gb.set_attributes(unit)
        gb.load_features()
        for key, answer in expected.items():
            equal(gb.get_feature_value(key, None), answer["result"]["value"], f"{unit['id']}, {key}")
    gb.destroy()
    edge.end()
    return f"{len(every)} units equal"


def flags(edge, token="sdk-plain", domain=iter(range(1000))):
    name = f"ofrep-{next(domain)}"
    api.set_provider(OFREPProvider(edge.url, headers_factory=lambda: {"Authorization": f"Bearer {token}"}), name)
    return api.get_client(name)


def details(client, key, value, context):
    """A default that no flag has, of the type that the flag has."""
    match value:
        case bool():
            return client.get_boolean_details(key, not value, context)
        case int():
            return client.get_integer_details(key, -1, context)
        case float():
            return client.get_float_details(key, -1.0, context)
        case str():
            return client.get_string_details(key, "?", context)
        case _:
            return client.get_object_details(key, {"none": True}, context)


def ofrep_assignments():
    edge = Edge()
    every, client, count = units(1000), flags(edge), 0
    for unit, expected in zip(every, edge.expected(every)):
        context = EvaluationContext(unit["id"], {name: value for name, value in unit.items() if name != "id"})
        for key, answer in expected.items():
            result = answer["result"]
            if result["value"] is None:
                continue
            found = details(client, key, result["value"], context)
            equal(found.value, result["value"], f"{unit['id']}, {key}: {found.error_message}")
            experiment = result.get("experimentResult")
            equal(found.flag_metadata.get("variationId"), experiment and experiment["key"], f"{unit['id']}, {key}")
            count += 1
    edge.end()
    return f"{len(every)} units, {count} values equal"


def ofrep_errors():
    edge = Edge()
    client, user = flags(edge), EvaluationContext("unit-1")

    def check(found, code):
        equal((found.error_code and found.error_code.value, found.reason.value), (code, "ERROR"), found.error_message)
        return found

    equal(check(client.get_string_details("none", "code", user), "FLAG_NOT_FOUND").value, "code", "default")
    check(client.get_string_details("checkout", "code", EvaluationContext()), "TARGETING_KEY_MISSING")
    check(client.get_integer_details("loop", 5, user), "GENERAL")
    check(client.get_boolean_details("motd", True, user), "TYPE_MISMATCH")
    for token in ("sdk-none", "sdk-encrypted"):
        equal(check(flags(edge, token).get_string_details("motd", "code", user), "GENERAL").value, "code", token)
    edge.end()
    return "404, 400, 401, 403, type mismatch"


def ofrep_429():
    edge = Edge("--flags-per-second", "1")
    client = flags(edge)
    found = [client.get_string_details("motd", "code", EvaluationContext()) for _ in range(50)]
    refused = [one for one in found if one.error_code]
    assert refused and all(one.value == "code" and "TooMany" in one.error_message or "Rate" in one.error_message for one in refused)
    edge.end()


def snippets():
    """What the how-to shows is what runs."""
    edge, clients = Edge(), Path(__file__).parent.parent
    shown = (clients.parent.parent / "docs/how-to/use-an-existing-sdk.md").read_text()
    commands = {
        **{path: ["node", path] for path in sorted(clients.glob("js/snippets/*.mjs"))},
        **{path: [sys.executable, path] for path in sorted(clients.glob("python/snippets/*.py"))},
        **{path: [f"{os.environ['SNIPPETS']}/{path.stem}"] for path in sorted(clients.glob("rust/examples/*.rs"))},
    }
    for path, command in commands.items():
        text = "".join(line for line in path.read_text().splitlines(True) if not line.startswith("//!")).strip()
        assert text in shown, f"{path} is not what docs/how-to/use-an-existing-sdk.md shows"
        found = subprocess.run(command, env={**os.environ, "MONTAUK_URL": edge.url}, capture_output=True, text=True, timeout=60)
        assert found.returncode == 0 and "revision 1" in found.stdout, f"{path}: {found.stdout}{found.stderr}"
    edge.end()
    return f"{len(commands)} programs of the how-to"


CHECKS = {
    "growthbook python 4.0.0": {
        "fetch": fetch,
        "encrypted payload": encrypted,
        "tracking callbacks": exposures,
        "SSE updates, restarts": streaming,
        "remote evaluation": remote,
    },
    "docs": {"snippets": snippets},
    "ofrep python 0.3.0": {"assignments": ofrep_assignments, "errors": ofrep_errors, "429 gives the default": ofrep_429},
}

failed = 0
for client, checks in CHECKS.items():
    for check, run in checks.items():
        try:
            print("result", client, check, run() or "ok", sep="\t", flush=True)
        except Exception:
            failed += 1
            print("result", client, check, "FAILED", sep="\t", flush=True)
            traceback.print_exc(file=sys.stderr)
sys.exit(1 if failed else 0)
