/** Entry of `/overlay/{room_id}`: the overlay itself; `/overlay`, or with `?builder`, the form that makes its address. */
import { showBuilder } from "./builder";
import { parseOverlay } from "./options";
import { Overlay } from "./overlay";
import "./overlay.css";

const query = new URLSearchParams(location.search);
const roomId = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const options = parseOverlay(query);
const root = document.getElementById("app") ?? document.body;
if (roomId === "" || query.has("builder")) showBuilder(root, roomId || "lobby", options);
else new Overlay(root, roomId, options);
