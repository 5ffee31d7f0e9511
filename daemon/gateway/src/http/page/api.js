"use strict";

// How the page asks the gateway: one call, and the stream of changes. The token stays in the tab.

const tokenKey = "mizar-gateway-token";

function authorization() {
  const token = sessionStorage.getItem(tokenKey);
  return token ? { Authorization: "Bearer " + token } : {};
}

class Unknown extends Error {}

async function call(method, path, body) {
  const headers = authorization();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method, headers, cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error("The gateway does not answer.");
  }
  if (answer.status === 401) throw new Unknown("A valid token is needed.");
  const isJson = (answer.headers.get("Content-Type") || "").includes("json");
  const told = answer.status === 204 ? null : isJson ? await answer.json() : await answer.text();
  if (!answer.ok) throw new Error((told && told.error) || "The gateway answered " + answer.status + ".");
  return told;
}

const get = (path) => call("GET", path);

// Follows the changes of jobs for ever, and after a lost connection goes on where it was.
async function follow(onChange, onStanding) {
  let last = null;
  for (;;) {
    try {
      const headers = authorization();
      if (last !== null) headers["Last-Event-ID"] = last;
      const answer = await fetch("/v1/events/stream", { headers, cache: "no-store" });
      if (!answer.ok) throw new Error("the stream answered " + answer.status);
      onStanding(true);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        const blocks = text.split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const event = parseEvent(block);
          if (event.id !== undefined) last = event.id;
          if (event.data !== undefined) onChange(event);
        }
      }
    } catch {
      // Said below, and tried again.
    }
    onStanding(false);
    await new Promise((done) => setTimeout(done, 2000));
  }
}

function parseEvent(block) {
  const event = {};
  for (const line of block.split("\n")) {
    const at = line.indexOf(":");
    if (at > 0) event[line.slice(0, at)] = line.slice(at + 1).replace(/^ /, "");
  }
  return event;
}
