// Parser of `text/event-stream`, without anything specific to Fanfare.

/**
 * Parses `text/event-stream` (WHATWG HTML §9.2.6) from bytes in chunks of any size.
 */
export class Parser {
  /** Last event id, kept until another one arrives. */
  lastEventId = '';
  /** Reconnect delay in milliseconds, if the server has set one. @type {number | null} */
  retry = null;

  /** @param {(block: { type: string, data: string, lastEventId: string }) => void} onBlock */
  constructor(onBlock) {
    this.onBlock = onBlock;
    // Removes one byte order mark and joins characters that are split between chunks.
    this.decoder = new TextDecoder();
    this.partialLine = '';
    this.endsWithCr = false;
    this.type = '';
    /** @type {string[]} */
    this.data = [];
    this.id = '';
  }

  /** @param {Uint8Array} bytes */
  push(bytes) {
    let text = this.decoder.decode(bytes, { stream: true });
    if (text === '') return;
    const isSplitCrLf = this.endsWithCr && text[0] === '\n';
    this.endsWithCr = text[text.length - 1] === '\r';
    if (isSplitCrLf) text = text.slice(1);
    const lines = text.split(/\r\n|\n|\r/);
    const incompleteLine = /** @type {string} */ (lines.pop());
    for (const line of lines) {
      this.processLine(this.partialLine + line);
      this.partialLine = '';
    }
    // A line in many chunks is joined once its end has arrived.
    this.partialLine += incompleteLine;
  }

  /** @param {string} line */
  processLine(line) {
    if (line === '') return this.dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value[0] === ' ') value = value.slice(1);
    if (field === 'data') this.data.push(value);
    else if (field === 'event') this.type = value;
    else if (field === 'id' && !value.includes('\0')) this.id = value;
    else if (field === 'retry' && /^[0-9]+$/.test(value)) this.retry = Number(value);
  }

  dispatch() {
    const { type, data } = this;
    this.type = '';
    this.data = [];
    this.lastEventId = this.id;
    if (data.length === 0) return;
    this.onBlock({ type: type || 'message', data: data.join('\n'), lastEventId: this.lastEventId });
  }
}
