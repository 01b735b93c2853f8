// Notes in a JSON file. Each change is written beside it and renamed, so that a crash leaves the old file or the new one.

import { readFile, rename, writeFile } from "node:fs/promises";

export class Notes {
  #path;
  #notes = [];
  #next = 1;
  // Writes follow one another: two at a time would rename each other's file.
  #written = Promise.resolve();

  static async open(path) {
    const notes = new Notes();
    notes.#path = path;
    try {
      notes.#notes = JSON.parse(await readFile(path, "utf8"));
    } catch (error) {
      if (error.code !== "ENOENT") throw new Error(`can't read the notes in ${path}`, { cause: error });
    }
    notes.#next = 1 + Math.max(0, ...notes.#notes.map((note) => note.id));
    return notes;
  }

  list() {
    return this.#notes;
  }

  async add(text) {
    const note = { id: this.#next++, text };
    this.#notes = [...this.#notes, note];
    await this.#save();
    return note;
  }

  /** Resolves to whether there was such a note. */
  async remove(id) {
    const kept = this.#notes.filter((note) => note.id !== id);
    const found = kept.length < this.#notes.length;
    this.#notes = kept;
    if (found) await this.#save();
    return found;
  }

  #save() {
    const text = JSON.stringify(this.#notes);
    const write = async () => {
      await writeFile(`${this.#path}.new`, text);
      await rename(`${this.#path}.new`, this.#path);
    };
    this.#written = this.#written.then(write, write);
    return this.#written;
  }
}
