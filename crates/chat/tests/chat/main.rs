//! One process, one binary: what chat promises, over real stores.

mod nodes;
mod schedules;
mod uploads;
