#!/usr/bin/env node
// Prints an answer while it is being made: ask.js 'How are you?' [SOCKET]
"use strict";
const net = require("node:net");
const readline = require("node:readline");

const [text, path = "/run/rkllmd/rkllmd.sock"] = process.argv.slice(2);
const socket = net.connect(path);
socket.on("error", (error) => {
  console.error(error.message);
  process.exitCode = 7;
});
socket.write(JSON.stringify({ op: "chat", text, stream: "tokens" }) + "\n");

readline.createInterface({ input: socket }).on("line", (line) => {
  const reply = JSON.parse(line);
  if (reply.event === "delta") process.stdout.write(reply.text);
  if (reply.event === "error") {
    console.error(`${reply.code}: ${reply.message}`);
    process.exitCode = 1;
  }
  if (reply.final) {
    process.stdout.write("\n");
    socket.end();
  }
});
