/** Where a viewer's comments wait for the network, so that they outlive a reload: one place for each room and person. */
import { type ChatStorage, webStorage } from "@barrage/client";
import { UNSENT_PREFIX } from "./kept";
import { readStored, removeStored, writeStored } from "./storage";

export function unsentStorage(roomId: string, userId: string): ChatStorage {
  return webStorage(`${UNSENT_PREFIX}${roomId}.${userId}`, { getItem: readStored, setItem: writeStored, removeItem: removeStored });
}
