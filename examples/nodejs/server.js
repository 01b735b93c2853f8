import { app } from "./app.js";
import { Notes } from "./notes.js";

const port = Number(process.env.PORT ?? 3000);
const server = app(await Notes.open(process.env.NOTES ?? "notes.json"));
// All addresses: a forward comes in from outside.
server.listen(port, "0.0.0.0", () => console.log(`listening on port ${server.address().port}`));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => server.close());
