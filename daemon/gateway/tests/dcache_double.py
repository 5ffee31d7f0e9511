"""A double of dCache's frontend, no dCache: channels, one subscription each, the stream, the namespace.

Written from the facts of its sources: a ring of past events that only Last-Event-ID replays,
EVENT_LOSS where that id is not in it, one reader for each channel. The first line is its URL. A
test drives it line by line:

    put NAME            a file is written and closed
    begin NAME          a file that is being written: no size, no event
    end NAME            and is closed
    move NAME           a file is renamed into the folder
    folder NAME         a subfolder is made and closed
    quiet NAME          a file is written, and its event is lost
    loss, overflow      events were lost, as dCache or its inotify tells
    send KIND TEXT      any event
    forbid NAME         a file that nobody may look at, written and closed
    cut                 all streams are cut
    forget              all channels end, as after a restart
    shrink              all past events are forgotten but the last
    ignored             the folder's watch ends
    stranger            all channels belong to another user from now on
    fail COUNT          so many next requests to the namespace are answered with 503
    channels            tells how many channels were made, and how many are there
    asked               tells the Last-Event-IDs of all streams, "-" for none
"""

import json
import queue
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

FOLDER = "/data/in"
API = "/api/v1"
# The token, or ann with the password "correct horse".
LOGINS = ("Bearer tok.en", "Basic YW5uOmNvcnJlY3QgaG9yc2U=")
lock = threading.RLock()
files, channels, state = {}, {}, {"made": 0, "fail": 0, "asked": []}


class Channel:
    def __init__(self):
        self.ring, self.next, self.sink, self.subscription = [], 0, None, None
        self.foreign = False

    def send(self, kind, data, numbered=True):
        event = f"event: {kind}\n"
        if numbered:
            event += f"id: {self.next}\n"
        event += f"data: {data}\n\n"
        if numbered:
            self.ring = [*self.ring, (self.next, event)][-16384:]
            self.next += 1
        if self.sink:
            self.sink.put(event)

    def close(self):
        if self.sink:
            self.sink.put(None)
            self.sink = None


def tell(name, mask):
    for channel in channels.values():
        event = {"mask": mask} | ({"name": name} if name else {})
        data = {"event": event, "subscription": f"{url}{API}{channel.subscription}"}
        channel.send("inotify", json.dumps(data))


def system(kind):
    for channel in channels.values():
        channel.send("SYSTEM", json.dumps({"type": kind}), numbered=False)


def entry(name, of):
    known = {"fileName": name, "fileType": of["type"], "pnfsId": of["id"], "mtime": 1767348000000}
    return known | ({"size": of["size"]} if of["size"] is not None else {})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, value=None, **headers):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, message):
        self.answer(status, {"errors": [{"status": str(status), "message": message}]})

    def body(self):
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

    def path_below(self):
        path = urlsplit(self.path).path
        assert path.startswith(API), path
        return unquote(path.removeprefix(API))

    def allowed(self):
        if self.headers.get("Authorization") not in LOGINS:
            self.refuse(401, "Unauthorized")
        return self.headers.get("Authorization") in LOGINS

    def do_POST(self):
        body = self.body()
        if not self.allowed():
            return
        with lock:
            parts = self.path_below().split("/")[1:]
            if parts == ["events", "channels"]:
                name = uuid.uuid4().hex[:12]
                channels[name] = Channel()
                state["made"] += 1
                # As behind a proxy that dCache knows nothing of.
                where = f"http://inner.invalid:3880{API}/events/channels/{name}"
                return self.answer(201, Location=where)
            channel = channels.get(parts[2])
            if not channel:
                return self.refuse(404, "No such channel")
            if body["path"] != FOLDER:
                return self.refuse(400, f"Not found: {body['path']}")
            status = 303 if channel.subscription else 201
            channel.subscription = f"/events/channels/{parts[2]}/subscriptions/inotify/AAB-1"
            self.answer(status, Location=f"{url}{API}{channel.subscription}")

    def do_PATCH(self):
        body = self.body()
        with lock:
            if self.allowed():
                self.answer(204 if 1 <= body["timeout"] <= 86400 else 400)

    def do_DELETE(self):
        with lock:
            if self.allowed():
                channel = channels.pop(self.path_below().split("/")[-1], None)
                if channel:
                    channel.close()
                self.answer(204 if channel else 404)

    def do_GET(self):
        if not self.allowed():
            return
        path = self.path_below()
        if path.startswith("/namespace"):
            with lock:
                return self.namespace(path.removeprefix("/namespace"))
        self.stream(path.split("/")[-1])

    def namespace(self, path):
        if state["fail"]:
            state["fail"] -= 1
            return self.refuse(503, "busy")
        folder, name = path.rsplit("/", 1)
        if path == FOLDER and "children=true" in self.path:
            children = [entry(name, of) for name, of in files.items()]
            return self.answer(200, {"fileType": "DIR", "pnfsId": "F", "children": children})
        if folder != FOLDER or name not in files:
            return self.refuse(404, "Not Found")
        if files[name].get("forbidden"):
            return self.refuse(403, "Forbidden")
        self.answer(200, entry(name, files[name]))

    def stream(self, name):
        with lock:
            channel = channels.get(name)
            if not channel:
                return self.refuse(404, "No such channel")
            if channel.foreign:
                return self.refuse(403, "Access denied")
            if channel.sink:
                channel.send("SYSTEM", '{"type":"COMPETING_CLIENT"}', numbered=False)
                channel.close()
            sink = channel.sink = queue.Queue()
            last = self.headers.get("Last-Event-ID")
            state["asked"].append(last or "-")
            if last is not None:
                while channel.ring and channel.ring[0][0] != int(last):
                    channel.ring.pop(0)
                if channel.ring:
                    for _, event in channel.ring[1:]:
                        sink.put(event)
                else:
                    channel.send("SYSTEM", '{"type":"EVENT_LOSS"}', numbered=False)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while (event := sink.get()) is not None:
                self.wfile.write(event.encode())
                self.wfile.flush()
        except OSError:
            pass
        with lock:
            if channel.sink is sink:
                channel.sink = None


def write(name, size=3, kind="REGULAR"):
    files[name] = {"id": uuid.uuid4().hex.upper(), "size": size, "type": kind}


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
url = f"http://127.0.0.1:{server.server_port}"
threading.Thread(target=server.serve_forever, daemon=True).start()
print(url, flush=True)
for line in sys.stdin:
    command, _, rest = line.rstrip("\n").partition(" ")
    answer = "done"
    with lock:
        if command == "put":
            write(rest)
            tell(rest, ["IN_CLOSE_WRITE"])
        elif command == "quiet":
            write(rest)
        elif command == "begin":
            write(rest, size=None)
        elif command == "end":
            files[rest]["size"] = 3
            tell(rest, ["IN_CLOSE_WRITE"])
        elif command == "move":
            write(rest)
            tell(rest, ["IN_MOVED_TO"])
        elif command == "folder":
            write(rest, kind="DIR")
            tell(rest, ["IN_MOVED_TO", "IN_ISDIR"])
        elif command == "forbid":
            write(rest)
            files[rest]["forbidden"] = True
            tell(rest, ["IN_CLOSE_WRITE"])
        elif command == "loss":
            system("EVENT_LOSS")
        elif command == "overflow":
            tell(None, ["IN_Q_OVERFLOW"])
        elif command == "send":
            for channel in channels.values():
                channel.send(*rest.split(" ", 1))
        elif command == "cut":
            for channel in channels.values():
                channel.close()
        elif command == "forget":
            for channel in channels.values():
                channel.close()
            channels.clear()
        elif command == "stranger":
            for channel in channels.values():
                channel.foreign = True
                channel.close()
        elif command == "shrink":
            for channel in channels.values():
                channel.ring = channel.ring[-1:]
        elif command == "ignored":
            tell(None, ["IN_IGNORED"])
        elif command == "fail":
            state["fail"] = int(rest)
        elif command == "channels":
            answer = f"{state['made']} {len(channels)}"
        elif command == "asked":
            answer = " ".join(state["asked"])
    print(answer, flush=True)
