/** The messenger's icons: outlines in a 24×24 box, drawn in the text's colour. */
const PATHS = {
  back: "M15 4 7 12l8 8 1.6-1.6L10.2 12l6.4-6.4z",
  next: "M9 4l8 8-8 8-1.6-1.6 6.4-6.4-6.4-6.4z",
  close: "M6.4 5 12 10.6 17.600 5 19 6.400 13.400 12 19 17.600 17.600 19 12 13.400 6.400 19 5 17.600 10.600 12 5 6.400z",
  person: "M12 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8zM4 20c0-4 4-6 8-6s8 2 8 6z",
  pen: "M4 16.5V20h3.5L18 9.5 14.5 6zM15.8 4.7l1.2-1.2a1.6 1.6 0 0 1 2.3 0l1.2 1.2a1.6 1.6 0 0 1 0 2.3l-1.2 1.2z",
  group: "M9 5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7zM2 19c0-3.4 3.4-5 7-5s7 1.6 7 5zM16 6a3 3 0 1 1-.6 5.9 5.4 5.4 0 0 0 .1-5.8zM17.5 14c2.6.4 4.5 1.8 4.5 5h-4c0-2-.7-3.7-2-4.8z",
  clip: "M16.5 6.5v9a4.5 4.5 0 0 1-9 0V6a3 3 0 0 1 6 0v8.5a1.5 1.5 0 0 1-3 0V7H9v7.5a3 3 0 0 0 6 0V6a4.5 4.5 0 0 0-9 0v9.5a6 6 0 0 0 12 0v-9z",
  reply: "M10 5 3 12l7 7v-4.500c5 0 8.500 1.500 11 5-.8-6-4.500-10-11-10.800z",
  search: "M10 3.500a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zm0 2a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM14.600 16l1.400-1.400 4.700 4.700-1.400 1.400z",
  send: "M3 20.5 21.5 12 3 3.5 3 10l12 2-12 2z",
  down: "M12 16.5 4.5 9 6 7.5l6 6 6-6L19.5 9z",
  dots: "M5 10.200a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.600zm7 0a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.600zm7 0a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.600z",
  file: "M6 2.500h8l4.5 4.500v14.500H6zM13.5 3.800v4h4z",
  wait: "M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18zm0 2a7 7 0 1 0 0 14 7 7 0 0 0 0-14zm-1 2.500h1.800v4.200l3 2.6-1.2 1.4-3.6-3.200z",
  tick: "M4.5 12.5 6 11l4 4 8-8.500L19.5 8 10 18z",
  ticks: "M1.5 12.5 3 11l4 4 1-1 1.4 1.500L7 18zM8 12.5 9.5 11l3.5 4 8-8.500L22.5 8 13 18z",
  failed: "M12 2.500a9.5 9.5 0 1 1 0 19 9.5 9.5 0 0 1 0-19zM11 6.500h2v7.500h-2zm0 9h2v2h-2z",
  lock: "M7 10V7.500a5 5 0 0 1 10 0V10h1.500v10.500h-13V10zm2 0h6V7.500a3 3 0 0 0-6 0z",
  unlock: "M7 10V7.500a5 5 0 0 1 9.7-1.700l-1.9.7A3 3 0 0 0 9 7.500V10h9.500v10.500h-13V10z",
  bar: "M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18zm-5 4.600A7 7 0 0 0 16.4 17zM7.6 7 17 16.400A7 7 0 0 0 7.6 7z",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} fill-rule="evenodd" />
    </svg>
  );
}

/** A button that is an icon; its name is what a screen reader says and the tooltip shows. */
export function IconButton(props: { icon: IconName; label: string; onClick: () => void; class?: string; disabled?: boolean; pressed?: boolean }) {
  return (
    <button type="button" class={`tool ${props.class ?? ""}`} aria-label={props.label} title={props.label} aria-pressed={props.pressed} disabled={props.disabled} onClick={props.onClick}>
      <Icon name={props.icon} />
    </button>
  );
}
