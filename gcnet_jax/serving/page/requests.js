// What the page asks the server: the networks it has, and what they make of a photo.

// Returns what the server has: networks, how many examples, limits.
export async function networks() {
  return (await answered(await fetch("networks"))).json();
}

export async function example(number, signal) {
  return (await answered(await fetch(`examples/${number}.png`, { signal }))).blob();
}

// Returns the photo as the server decodes it, for files that the browser cannot show.
export async function decoded(photo, signal) {
  return (await answered(await posted("photo.png", photo, signal))).blob();
}

// Returns what a network makes of a photo; calls tell(text) while it waits and works.
export function result(network, photo, signal, tell) {
  return streamed(`networks/${network}/layer`, photo, signal, tell);
}

// Returns the attention map of a block for a point, both from 0 to 1.
export function attention(network, block, point, photo, signal, tell) {
  const query = new URLSearchParams({ block, x: point.x, y: point.y });
  return streamed(`networks/${network}/attention?${query}`, photo, signal, tell);
}

function posted(path, photo, signal) {
  return fetch(path, { method: "POST", body: photo, signal });
}

async function answered(response) {
  if (response.ok) return response;
  let why = `the server answers ${response.status}`;
  try {
    why = (await response.json()).error ?? why;
  } catch {
    // It is no JSON: the status has to do.
  }
  throw new Error(why);
}

async function streamed(path, photo, signal, tell) {
  tell("Sending the photo ...");
  const response = await answered(await posted(path, photo, signal));
  for await (const line of lines(response.body)) {
    const said = JSON.parse(line);
    if (said.state === "waiting") {
      tell(said.ahead ? `Waiting: ${said.ahead} before this one ...` : "Waiting: this is the next ...");
    } else if (said.state === "running") {
      tell("The network looks at it. The first photo of a size takes longer ...");
    } else if (said.state === "failed") {
      throw new Error(said.error);
    } else {
      return said;
    }
  }
  throw new Error("the server has stopped before it was done");
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts.filter(Boolean);
  }
  if (rest) yield rest;
}
