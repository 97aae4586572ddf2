/** Starts the rooms page on index.html. */
import { render } from "preact";
import { RoomsPage } from "./page";
import "./rooms.css";

const root = document.getElementById("app");
if (root !== null) render(<RoomsPage />, root);
