/** Starts the moderator console on admin.html. */
import { render } from "preact";
import { App } from "./app";
import "./console.css";

const root = document.getElementById("app");
if (root !== null) render(<App />, root);
