// What the pages use of it.
export function parse(text: string, options?: { async?: false; gfm?: boolean; breaks?: boolean }): string;
export function use(options: { renderer: { html(token: { text: string }): string } }): void;
