/** `/embed.js`: defines `<barrage-room>` for a page of any origin. Where this file came from is where the rooms are. */
import { BarrageRoom } from "./element";

BarrageRoom.server = new URL(import.meta.url).origin;
if (!customElements.get("barrage-room")) customElements.define("barrage-room", BarrageRoom);
