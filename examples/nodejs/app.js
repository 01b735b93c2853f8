// The HTTP side: GET /notes, POST /notes {"text": …}, DELETE /notes/ID.

import { createServer } from "node:http";

const MAX_BODY = 64 * 1024;

async function body(request) {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) {
    text += chunk;
    if (text.length > MAX_BODY) return undefined;
  }
  return text;
}

function parseNote(text) {
  try {
    const note = JSON.parse(text);
    return typeof note?.text === "string" && note.text.trim() !== "" ? note.text : undefined;
  } catch {
    return undefined;
  }
}

async function answer(notes, request) {
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname === "/notes" && request.method === "GET") return [200, notes.list()];
  if (pathname === "/notes" && request.method === "POST") {
    const text = await body(request);
    if (text === undefined) return [413, { error: `a note has at most ${MAX_BODY} characters` }];
    const note = parseNote(text);
    if (note === undefined) return [400, { error: 'send {"text": "…"}, not empty' }];
    return [201, await notes.add(note)];
  }
  const id = /^\/notes\/(\d+)$/.exec(pathname)?.[1];
  if (id !== undefined && request.method === "DELETE") {
    return (await notes.remove(Number(id))) ? [204] : [404, { error: `there is no note ${id}` }];
  }
  return [404, { error: "there are GET /notes, POST /notes and DELETE /notes/ID" }];
}

export function app(notes) {
  return createServer(async (request, response) => {
    let status, value;
    try {
      [status, value] = await answer(notes, request);
    } catch (error) {
      console.error(error);
      [status, value] = [500, { error: "the note could not be kept" }];
    }
    response.writeHead(status, value === undefined ? {} : { "content-type": "application/json" });
    response.end(value === undefined ? undefined : `${JSON.stringify(value)}\n`);
  });
}
