/** Outlines of the page's icons, drawn for a 24×24 box. */
export const ICONS = {
  play: "M8 5v14l11-7z",
  pause: "M7 5h4v14H7zM13 5h4v14h-4z",
  sound: "M4 9v6h4l5 4V5L8 9zM15.5 8.5a5 5 0 0 1 0 7l-1.2-1.2a3.2 3.2 0 0 0 0-4.6z",
  silent: "M4 9v6h4l5 4V5L8 9zM15 9.4l1.2-1.2 6 6-1.2 1.2zM21 8.2l1.2 1.2-6 6-1.2-1.2z",
  full: "M4 4h6v2H6v4H4zM14 4h6v6h-2V6h-4zM4 14h2v4h4v2H4zM18 14h2v6h-6v-2h4z",
  video: "M3 6h13v12H3zM17.5 10.5 22 8v8l-4.5-2.5z",
  sliders: "M4 6h9v2H4zM17 6h3v2h-3zM14 4h2v6h-2zM4 16h3v2H4zM11 16h9v2h-9zM8 14h2v6H8z",
  person: "M12 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8zM4 20c0-4 4-6 8-6s8 2 8 6z",
  heart: "M12 20.5 4.6 13a4.8 4.8 0 0 1 6.8-6.8l.6.6.6-.6a4.8 4.8 0 0 1 6.8 6.8z",
  gift: "M4 11h16v9H4zM3 7h18v3H3zM11 7h2v13h-2zM12 7C9 7 7 6 7 4.5S9 2.5 12 6c3-3.5 5-3 5-1.5S15 7 12 7z",
  horn: "M4 10v4h3l9 5V5l-9 5zM18 9.5a3.5 3.5 0 0 1 0 5z",
  eye: "M12 6c5 0 8.5 4 10 6-1.5 2-5 6-10 6S3.5 14 2 12c1.5-2 5-6 10-6zm0 2.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7z",
  letter: "M11 4h2l6 16h-2.5l-1.5-4.2H9L7.5 20H5zM12 7.2 9.8 13.6h4.4z",
  letters: "M4 5h16v11H9.5l-4.5 4v-4H4z",
  close: "M6.4 5 12 10.6 17.6 5 19 6.4 13.4 12l5.6 5.6-1.4 1.4L12 13.4 6.4 19 5 17.6 10.6 12 5 6.4z",
} as const;
