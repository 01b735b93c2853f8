import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { app } from "./app.js";
import { Notes } from "./notes.js";

let directory, path, server, url;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "notes-"));
  path = join(directory, "notes.json");
  server = app(await Notes.open(path));
  // On a slow machine the server would close an idle connection just when the next request takes it.
  server.keepAliveTimeout = 0;
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${server.address().port}/notes`;
});
after(async () => {
  server.close();
  server.closeAllConnections();
  await rm(directory, { recursive: true });
});

const post = (body) => fetch(url, { method: "POST", body });

test("a note that was added is listed, and found again after a restart", async () => {
  const response = await post(JSON.stringify({ text: "buy milk" }));
  assert.equal(response.status, 201);
  const note = await response.json();
  assert.deepEqual(await (await fetch(url)).json(), [note]);
  assert.deepEqual((await Notes.open(path)).list(), [note]);
});

test("notes that come at the same time are all kept", async () => {
  const before = (await (await fetch(url)).json()).length;
  await Promise.all(Array.from({ length: 20 }, (_, i) => post(JSON.stringify({ text: `note ${i}` }))));
  const kept = (await Notes.open(path)).list();
  assert.equal(kept.length, before + 20);
  assert.equal(new Set(kept.map((note) => note.id)).size, kept.length);
});

test("a deleted note is gone, and can't be deleted again", async () => {
  const { id } = await (await post(JSON.stringify({ text: "short-lived" }))).json();
  assert.equal((await fetch(`${url}/${id}`, { method: "DELETE" })).status, 204);
  assert.equal((await fetch(`${url}/${id}`, { method: "DELETE" })).status, 404);
});

test("what is no note is refused", async () => {
  for (const body of ["", "{", "null", "[]", '{"text": 7}', '{"text": "  "}']) {
    assert.equal((await post(body)).status, 400, body);
  }
  assert.equal((await post(JSON.stringify({ text: "x".repeat(70_000) }))).status, 413);
});
