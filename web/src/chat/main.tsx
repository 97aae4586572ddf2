/** Starts the messenger on chat.html. */
import { render } from "preact";
import { App } from "./app";
import { openOffline } from "./offline";
import "./chat.css";

const root = document.getElementById("app");
if (root !== null) render(<App />, root);
openOffline();
