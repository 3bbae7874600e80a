"""A local server that imitates the APIs of models: Anthropic, OpenAI (responses and chat completions), Gemini, Copilot.

It is an HTTP proxy that answers CONNECT itself, with a certificate of its own authority for whatever name the client asks
for. A jail reaches it with `--upstream-proxy` and `--upstream-ca`; nothing leaves the machine.

The "model" is a fixed rule, so that a test knows what an agent must show:
  a prompt with `run: COMMAND`  calls the agent's shell tool with COMMAND, then answers `the command said: OUTPUT`
  any other prompt              answers `echo of: ` and the last word of the prompt
"""

import base64
import gzip
import itertools
import json
import re
import socketserver
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse
import zlib
from http.server import BaseHTTPRequestHandler
from pathlib import Path

# The names that agents give their shell tool, and the arguments that it takes.
SHELL_TOOLS = {
    "Bash": lambda command: {"command": command, "description": "Show a file"},
    "bash": lambda command: {"command": command, "description": "Show a file"},
    "shell": lambda command: {"command": ["bash", "-lc", command]},
    "shell_command": lambda command: {"command": command},
    "exec_command": lambda command: {"cmd": command},
    "run_shell_command": lambda command: {"command": command, "description": "Show a file", "is_background": False},
    # A program in JavaScript, which calls other tools.
    "exec": lambda command: f"text((await tools.exec_command({json.dumps({'cmd': command})})).output)",
    "run_commands": lambda command: {"commands": [command]},
    "execute_command": lambda command: {"command": command, "requires_approval": False},
    "run_terminal_cmd": lambda command: {"command": command, "is_background": False},
}
FIRST_LINE = re.compile(r'run: ([^\n"]+)')


class Standin:
    """Starts the server. `requests` lists what it was asked, as (host, method, path, headers, body)."""

    def __init__(self, directory, handler=None):
        self.authority = Authority(Path(directory))
        self.requests = []
        self.ids = itertools.count(1)
        # Cleared, it holds the answers to prompts, so that a test can interrupt one.
        self.held = threading.Event()
        self.held.set()
        standin = self

        class Handler(handler or Request):
            server_side = standin

        class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                """Clients that close a connection early are of no interest."""

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server.server_address[1]

    def prompts(self):
        """Returns the requests that carry a prompt to a model."""
        return [request for request in self.requests if protocol_of(request[2])]


class Authority:
    """A certificate authority in `directory`; its certificate is `ca.pem`."""

    def __init__(self, directory):
        self.directory = directory
        self.contexts = {}
        self.lock = threading.Lock()
        self.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=stand-in -keyout ca.key -out ca.pem")
        self.openssl("ecparam -genkey -name prime256v1 -noout -out leaf.key")

    def openssl(self, arguments):
        subprocess.run(["openssl", *arguments.split()], cwd=self.directory, check=True, capture_output=True, timeout=30)

    def context(self, host):
        with self.lock:
            if host not in self.contexts:
                self.contexts[host] = self.new_context(host)
            return self.contexts[host]

    def new_context(self, host):
        stem = f"leaf-{len(self.contexts)}"
        (self.directory / f"{stem}.ext").write_text(f"subjectAltName=DNS:{host}\nextendedKeyUsage=serverAuth\n")
        self.openssl(f"req -new -key leaf.key -subj /CN={host[:60]} -out {stem}.csr")
        self.openssl(
            f"x509 -req -in {stem}.csr -CA ca.pem -CAkey ca.key -set_serial {len(self.contexts) + 2} -days 2"
            f" -extfile {stem}.ext -out {stem}.pem"
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / f"{stem}.pem", self.directory / "leaf.key")
        context.set_alpn_protocols(["http/1.1"])
        return context


class Request(BaseHTTPRequestHandler):
    """One connection: CONNECT, then TLS, then requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120
    server_side = None
    host = ""

    def log_message(self, *_):
        """Prints nothing: the list of requests is the log."""

    def do_CONNECT(self):
        self.host = self.path.rsplit(":", 1)[0]
        self.send_response(200)
        self.end_headers()
        if self.path.endswith(":80"):
            return
        self.request = self.server_side.authority.context(self.host).wrap_socket(self.request, server_side=True)
        self.connection = self.request
        self.rfile = self.request.makefile("rb", -1)
        self.wfile = self.request.makefile("wb", 0)
        self.close_connection = False

    def handle_any(self):
        body = self.read_body()
        path = urllib.parse.urlsplit(self.path)
        self.server_side.requests.append((self.host, self.command, path.path, dict(self.headers), body))
        protocol = protocol_of(path.path)
        if protocol and self.command == "POST":
            self.answer_prompt(protocol, json.loads(body), path)
        else:
            self.answer(*self.other(path.path))

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = handle_any

    def read_body(self):
        if "chunked" in self.headers.get("transfer-encoding", ""):
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
        encoding = self.headers.get("content-encoding", "")
        if encoding == "gzip":
            return gzip.decompress(body)
        if encoding == "deflate":
            return zlib.decompress(body)
        return body

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_prompt(self, protocol, request, path):
        asks = protocol(request, f"{next(self.server_side.ids):06}")
        is_streamed = request.get("stream") or "stream" in path.path.lower()
        action = decide(list(asks.turns()), asks.tools())
        self.server_side.held.wait(60)
        if not is_streamed:
            self.answer(200, asks.whole(action))
            return
        is_bedrock = path.path.endswith("/invoke-with-response-stream")
        self.send_response(200)
        self.send_header("content-type", "application/vnd.amazon.eventstream" if is_bedrock else "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in asks.events(action):
            chunk = amazon_event(event) if is_bedrock else event.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def other(self, path):
        """Answers what agents ask besides prompts. Everything else is 404, as on a server of another version."""
        if path.endswith("/echo"):
            return 200, {"page": "the page of the stand-in"}
        if path in ("/api/hello", "/v1/oauth/hello"):
            return 200, {"message": "hello"}
        if path.endswith("/count_tokens"):
            return 200, {"input_tokens": 10}
        if path.endswith(":countTokens"):
            return 200, {"totalTokens": 10}
        if path.endswith("/event_logging/v2/batch"):
            return 200, {"accepted_count": 1, "rejected_count": 0}
        if path == "/user":
            return 200, {"login": "octo", "id": 1, "name": "Octo"}
        if path.startswith("/copilot_internal/"):
            return 200, copilot_account()
        if path.endswith("/models"):
            return 200, copilot_models() if "githubcopilot" in self.host else openai_models()
        return 404, {"error": {"message": "the stand-in has nothing here", "type": "not_found_error"}}


def copilot_account():
    host = "individual.githubcopilot.com"
    endpoints = {name: f"https://{name}.{host}" for name in ("api", "telemetry", "proxy", "origin-tracker")}
    return {
        "login": "octo", "access_type_sku": "copilot_individual", "copilot_plan": "individual", "chat_enabled": True,
        "cli_enabled": True, "is_mcp_enabled": True, "organization_list": [], "quota_snapshots": {},
        "endpoints": endpoints, "token": "tid=standin", "expires_at": int(time.time()) + 1800, "refresh_in": 1500,
    }


def copilot_models():
    limits = {"max_context_window_tokens": 128000, "max_output_tokens": 16000, "max_prompt_tokens": 128000}
    supports = {"streaming": True, "tool_calls": True, "parallel_tool_calls": True, "vision": False}

    def model(name, vendor):
        return {
            "id": name, "name": name, "object": "model", "vendor": vendor, "version": name, "preview": False,
            "model_picker_enabled": True, "model_picker_category": "versatile", "supported_endpoints": ["/chat/completions"],
            "is_chat_default": name == "gpt-4.1", "is_chat_fallback": name == "gpt-4.1",
            "policy": {"state": "enabled", "terms": ""}, "billing": {"is_premium": True, "multiplier": 1},
            "capabilities": {"family": name, "object": "model_capabilities", "type": "chat", "tokenizer": "o200k_base",
                             "limits": limits, "supports": supports},
        }

    names = [("claude-sonnet-4.5", "Anthropic"), ("claude-sonnet-4.6", "Anthropic"), ("gpt-5", "OpenAI"), ("gpt-4.1", "OpenAI")]
    return {"object": "list", "data": [model(*name) for name in names]}


def openai_models():
    return {"object": "list", "models": [], "data": [{"id": "gpt-5", "object": "model", "created": 1, "owned_by": "openai"}]}


def flat(content):
    """Returns the text of a message's content, which each API nests in its own way."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(map(flat, content))
    if isinstance(content, dict):
        for name in ("text", "content", "output", "llmContent", "result"):
            if name in content:
                return flat(content[name])
        return json.dumps(content)
    return ""


def decide(turns, tools):
    """Returns ("text", TEXT) or ("tool", NAME, ARGUMENTS) for the turns, a list of ("user" | "result", TEXT)."""
    prompts = [number for number, (kind, text) in enumerate(turns) if kind == "user" and FIRST_LINE.search(text)]
    plain = [number for number, (kind, text) in enumerate(turns) if kind == "user" and "say " in text]
    last = prompts[-1] if prompts else -1
    if last >= 0 and last >= (plain[-1] if plain else -1):
        results = [text for kind, text in turns[last:] if kind == "result"]
        if results:
            return "text", "the command said: " + flat(results[-1]).strip()[:400]
        name = next((name for name in SHELL_TOOLS if name in tools), None)
        if name is None:
            return "text", "the agent has no shell tool that is known here: " + " ".join(tools)
        return "tool", name, SHELL_TOOLS[name](FIRST_LINE.search(turns[last][1])[1].strip())
    words = [word for _, text in turns[plain[-1]:] for word in re.findall(r"say (\S+)", text)] if plain else []
    return "text", "echo of: " + (words[-1] if words else "nothing")


def amazon_event(event):
    """Returns the data of an event as a message of Amazon's event stream encoding."""
    data = event.split("data: ", 1)[1].strip().encode()
    payload = json.dumps({"bytes": base64.b64encode(data).decode()}).encode()
    headers = b""
    for name, value in ((b":event-type", b"chunk"), (b":content-type", b"application/json"), (b":message-type", b"event")):
        headers += bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value
    prelude = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def words_of(text):
    return re.findall(r"\s*\S+", text)


def event(value, name=None):
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(value)}\n\n"


class Messages:
    """Anthropic's messages."""

    def __init__(self, request, number):
        self.request, self.number = request, number

    def tools(self):
        return [tool.get("name") for tool in self.request.get("tools") or []]

    def turns(self):
        for message in self.request["messages"]:
            content = message["content"]
            for block in content if isinstance(content, list) else [{"type": "text", "text": content}]:
                if block["type"] == "tool_result":
                    yield "result", flat(block.get("content"))
                elif block["type"] == "text" and message["role"] == "user":
                    yield "user", block["text"]

    def message(self, content, stop):
        usage = {"input_tokens": 5, "output_tokens": 7, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        return {"id": f"msg_{self.number}", "type": "message", "role": "assistant", "model": self.request.get("model", "model"),
                "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}

    def block(self, action):
        if action[0] == "text":
            return {"type": "text", "text": action[1]}, "end_turn"
        return {"type": "tool_use", "id": f"toolu_{self.number}", "name": action[1], "input": action[2]}, "tool_use"

    def whole(self, action):
        block, stop = self.block(action)
        return self.message([block], stop)

    def events(self, action):
        block, stop = self.block(action)
        is_text = action[0] == "text"
        start = {"type": "text", "text": ""} if is_text else {**block, "input": {}}
        values = [{"type": "message_start", "message": self.message([], None)},
                  {"type": "content_block_start", "index": 0, "content_block": start}]
        deltas = ([{"type": "text_delta", "text": word} for word in words_of(action[1])] if is_text
                  else [{"type": "input_json_delta", "partial_json": json.dumps(action[2])}])
        values += [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
        values += [{"type": "content_block_stop", "index": 0},
                   {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 7}},
                   {"type": "message_stop"}]
        return [event(value, value["type"]) for value in values]


class Responses:
    """OpenAI's responses."""

    def __init__(self, request, number):
        self.request, self.number = request, number

    def tools(self):
        items = self.request.get("input")
        groups = [item.get("tools", []) for item in items if item.get("type") == "additional_tools"] if isinstance(items, list) else []
        tools = [tool for group in [self.request.get("tools") or [], *groups] for tool in group]
        tools += [inner for tool in tools for inner in tool.get("tools", [])]
        return [tool.get("name") or tool.get("type") for tool in tools]

    def turns(self):
        items = self.request.get("input")
        for item in items if isinstance(items, list) else [{"role": "user", "content": items}]:
            if item.get("type", "").endswith("_call_output"):
                yield "result", flat(item.get("output"))
            elif item.get("role") == "user":
                yield "user", flat(item.get("content"))

    def item(self, action):
        if action[0] == "text":
            content = [{"type": "output_text", "text": action[1], "annotations": []}]
            return {"type": "message", "id": f"msg_{self.number}", "role": "assistant", "status": "completed", "content": content}
        call = {"call_id": f"call_{self.number}", "name": action[1], "status": "completed"}
        if isinstance(action[2], str):
            return {"type": "custom_tool_call", "id": f"ctc_{self.number}", "input": action[2], **call}
        return {"type": "function_call", "id": f"fc_{self.number}", "arguments": json.dumps(action[2]), **call}

    def whole(self, action):
        usage = {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 7,
                 "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 12}
        return {"id": f"resp_{self.number}", "object": "response", "created_at": int(time.time()), "status": "completed",
                "model": self.request.get("model", "model"), "output": [self.item(action)], "usage": usage, "error": None,
                "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": False,
                "tool_choice": "auto", "tools": []}

    def events(self, action):
        whole, item = self.whole(action), self.item(action)
        place = {"item_id": item["id"], "output_index": 0}
        values = [("response.created", {"response": {**whole, "status": "in_progress", "output": [], "usage": None}}),
                  ("response.output_item.added", {"output_index": 0, "item": {**item, "status": "in_progress"}})]
        if action[0] == "text":
            part = {**place, "content_index": 0}
            values.append(("response.content_part.added", {**part, "part": {"type": "output_text", "text": "", "annotations": []}}))
            values += [("response.output_text.delta", {**part, "delta": word}) for word in words_of(action[1])]
            values.append(("response.output_text.done", {**part, "text": action[1]}))
            values.append(("response.content_part.done", {**part, "part": item["content"][0]}))
        elif "arguments" in item:
            values.append(("response.function_call_arguments.delta", {**place, "delta": item["arguments"]}))
            values.append(("response.function_call_arguments.done", {**place, "arguments": item["arguments"]}))
        values += [("response.output_item.done", {"output_index": 0, "item": item}), ("response.completed", {"response": whole})]
        return [event({"type": name, "sequence_number": number, **value}, name) for number, (name, value) in enumerate(values)]


class ChatCompletions:
    """OpenAI's chat completions, which many providers have."""

    def __init__(self, request, number):
        self.request, self.number = request, number

    def tools(self):
        return [tool.get("function", {}).get("name") for tool in self.request.get("tools") or []]

    def turns(self):
        for message in self.request["messages"]:
            if message["role"] in ("tool", "user"):
                yield "result" if message["role"] == "tool" else "user", flat(message.get("content"))

    def message(self, action):
        if action[0] == "text":
            return {"role": "assistant", "content": action[1]}
        call = {"id": f"call_{self.number}", "type": "function", "index": 0,
                "function": {"name": action[1], "arguments": json.dumps(action[2])}}
        return {"role": "assistant", "content": None, "tool_calls": [call]}

    def body(self, kind, choice):
        return {"id": f"chatcmpl-{self.number}", "object": kind, "created": int(time.time()),
                "model": self.request.get("model", "model"), "choices": [{"index": 0, **choice}],
                "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}

    def whole(self, action):
        return self.body("chat.completion", {"message": self.message(action), "finish_reason": self.reason(action)})

    def reason(self, action):
        return "stop" if action[0] == "text" else "tool_calls"

    def events(self, action):
        deltas = [{"role": "assistant", "content": ""}]
        if action[0] == "text":
            deltas += [{"content": word} for word in words_of(action[1])]
        else:
            deltas.append({"tool_calls": self.message(action)["tool_calls"]})
        choices = [{"delta": delta, "finish_reason": None} for delta in deltas] + [{"delta": {}, "finish_reason": self.reason(action)}]
        return [event(self.body("chat.completion.chunk", choice)) for choice in choices] + ["data: [DONE]\n\n"]


class GenerateContent:
    """Gemini's generateContent."""

    def __init__(self, request, number):
        self.request, self.number = request, number

    def tools(self):
        tools = self.request.get("tools") or []
        return [declared["name"] for tool in tools for declared in tool.get("functionDeclarations", [])]

    def turns(self):
        for content in self.request.get("contents", []):
            for part in content.get("parts", []):
                if "functionResponse" in part:
                    yield "result", flat(part["functionResponse"].get("response"))
                elif "text" in part and content.get("role", "user") == "user":
                    yield "user", part["text"]

    def part(self, action):
        # Questions of the agent itself, such as which model is to answer, want JSON.
        if "json" in json.dumps(self.request.get("generationConfig", {})).lower():
            return {"text": json.dumps({"reasoning": "-", "next_speaker": "user", "model_choice": "flash",
                                        "complexity_reasoning": "-", "complexity_score": 10})}
        if action[0] == "text":
            return {"text": action[1]}
        return {"functionCall": {"name": action[1], "args": action[2], "id": f"call_{self.number}"}}

    def whole(self, action):
        content = {"role": "model", "parts": [self.part(action)]}
        return {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "modelVersion": "gemini",
                "responseId": self.number,
                "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12}}

    def events(self, action):
        return [event(self.whole(action)).replace("\n\n", "\r\n\r\n")]


def protocol_of(path):
    """Returns the class of the API that has prompts at this path, or None."""
    ends = {"/messages": Messages, "/responses": Responses, "/chat/completions": ChatCompletions,
            # Bedrock and Vertex AI.
            "/invoke": Messages, "/invoke-with-response-stream": Messages, ":rawPredict": Messages, ":streamRawPredict": Messages}
    for end, protocol in ends.items():
        if path.endswith(end):
            return protocol
    return GenerateContent if path.lower().endswith("generatecontent") else None
