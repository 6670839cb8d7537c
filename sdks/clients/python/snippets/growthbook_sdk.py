import os

from growthbook import GrowthBook

track = lambda experiment, result, **_: print("exposure", experiment.key, result.key)
gb = GrowthBook(api_host=os.environ["MONTAUK_URL"], client_key="sdk-plain", attributes={"id": "unit-1"}, on_experiment_viewed=track)
gb.load_features()
print(gb.is_on("search"), gb.get_feature_value("motd", "none"))
