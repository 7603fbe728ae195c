"""Lets every decorator of b24pysdk's Flask integration read a request, and tells whose message each takes it for.
Texts are told in hex, as those of the other kit are. The first line of output says where it listens."""

from b24pysdk.integrations.flask import dependencies
from b24pysdk.integrations.flask.decorators import (
    event_required,
    placement_required,
    workflow_required,
)
from flask import Flask, jsonify, make_response, request
from werkzeug.serving import WSGIRequestHandler, make_server

app = Flask(__name__)


def of_placement():
    data = dependencies.get_oauth_placement_data()
    return {
        "member_id": data.member_id,
        "domain": data.domain,
        "access_token": data.oauth_token.access_token,
        "refresh_token": data.oauth_token.refresh_token,
        "code": data.placement,
    }


def of_auth(auth):
    token = auth.oauth_token
    return {
        "member_id": auth.member_id,
        "domain": auth.domain,
        "client_endpoint": auth.client_endpoint,
        "access_token": token and token.access_token,
        "refresh_token": token and token.refresh_token,
        "application_token": auth.application_token,
    }


def of_event():
    data = dependencies.get_oauth_event_data()
    return {**of_auth(data.auth), "code": data.event}


def of_workflow():
    data = dependencies.get_oauth_workflow_data()
    return {**of_auth(data.auth), "code": data.code, "event_token": data.event_token}


READERS = {
    "placement_required": placement_required(of_placement),
    "event_required": event_required(of_event),
    "workflow_required": workflow_required(of_workflow),
}


def told(read):
    facts = read()
    if not isinstance(facts, dict):
        return {"refused": make_response(facts).get_data(as_text=True).strip()}
    # What is no text is no opinion that a handler could act on.
    texts = {name: fact for name, fact in facts.items() if isinstance(fact, str)}
    return {"read": {name: text.encode("utf-8", "replace").hex() for name, text in texts.items()}}


@app.route("/", defaults={"path": ""}, methods=["POST"])
@app.route("/<path:path>", methods=["POST"])
def handler(path):
    response = jsonify({name: told(read) for name, read in READERS.items()})
    # What the gateway told the handler stands in the answer too.
    for name, value in request.headers:
        if name.lower().startswith("x-bitrix24-"):
            response.headers[name] = value
    return response


class Quiet(WSGIRequestHandler):
    def log_request(self, *_):
        pass


server = make_server("127.0.0.1", 0, app, request_handler=Quiet)
print(f"127.0.0.1:{server.port}", flush=True)
server.serve_forever()
