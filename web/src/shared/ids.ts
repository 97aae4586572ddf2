/** Random ids for messages and devices. */
export { randomId } from "@barrage/client";
