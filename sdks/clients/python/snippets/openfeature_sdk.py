import os

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

api.set_provider(OFREPProvider(os.environ["MONTAUK_URL"], headers_factory=lambda: {"Authorization": "Bearer sdk-plain"}))
flags, unit = api.get_client(), EvaluationContext("unit-1")
print(flags.get_boolean_value("search", False, unit), flags.get_string_value("motd", "none", unit))
