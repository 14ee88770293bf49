// Runs SQL over a Unix socket with trust and prints the rows as `psql -At` would. For machines
// whose server came without psql (the npm package); node is there then.
//
//   node scripts/sql.js SOCKET_FOLDER DATABASE SQL

"use strict";
const net = require("net");
const [folder, database, sql] = process.argv.slice(2);

function message(tag, body) {
  const head = Buffer.alloc(tag ? 5 : 4);
  if (tag) head.write(tag, 0);
  head.writeInt32BE(body.length + 4, tag ? 1 : 0);
  return Buffer.concat([head, body]);
}

function row(body) {
  const values = [];
  let at = 2;
  for (let left = body.readInt16BE(0); left > 0; left--) {
    const length = body.readInt32BE(at);
    at += 4;
    values.push(length < 0 ? "" : body.toString("utf8", at, at + length));
    at += Math.max(length, 0);
  }
  return values.join("|");
}

function fail(text) {
  console.error(text);
  process.exit(1);
}

const socket = net.connect(`${folder}/.s.PGSQL.5432`);
const startup = Buffer.from(`\0\x03\0\0user\0postgres\0database\0${database}\0\0`, "latin1");
socket.on("connect", () => socket.write(message("", startup)));
socket.on("error", (error) => fail(String(error)));
socket.on("close", () => fail("the server closed the connection"));

let buffer = Buffer.alloc(0);
let asked = false;
let failed = false;
socket.on("data", (data) => {
  buffer = Buffer.concat([buffer, data]);
  while (buffer.length >= 5 && buffer.length > buffer.readInt32BE(1)) {
    const length = buffer.readInt32BE(1) + 1;
    const tag = String.fromCharCode(buffer[0]);
    const body = buffer.subarray(5, length);
    buffer = buffer.subarray(length);
    if (tag === "D") console.log(row(body));
    if (tag === "R" && body.readInt32BE(0) !== 0) fail("the server asks for a password");
    if (tag === "E") {
      const fields = body.toString("utf8").split("\0");
      console.error("ERROR: " + fields.find((field) => field[0] === "M").slice(1));
      failed = true;
      if (!asked) process.exit(1);
    }
    if (tag === "Z") {
      if (asked) process.exit(failed ? 1 : 0);
      asked = true;
      socket.write(message("Q", Buffer.from(sql + "\0")));
    }
  }
});
