// The pages run in a window, not on a server: one shell, no rendering ahead.
export const ssr = false;
export const prerender = false;
