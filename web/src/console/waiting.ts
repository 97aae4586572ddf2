/** How many comments wait for a decision: set by whoever last asked, shown in the menu. */
import { signal } from "@preact/signals";

export const waitingReviews = signal(0);
