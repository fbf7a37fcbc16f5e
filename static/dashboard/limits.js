// Names of the limits. A setting writes its name with hyphens, the hub's answers with underscores.

const NAMES = /** @type {Record<string, string>} */ ({
  max_connections: 'Sessions',
  max_connections_per_client: 'Sessions of one client',
  max_connections_per_subject: 'Sessions of one user',
  max_connections_per_stream: 'Sessions of one stream',
  max_selectors: 'Streams of one subscription',
  max_streams: 'Streams with history',
  publish_events_per_client: 'Events of one client a second',
  publish_bytes_per_client: 'Bytes of one client a second',
  publish_events_per_subject: 'Events of one user a second',
  publish_bytes_per_subject: 'Bytes of one user a second',
  memory_budget: 'Memory',
  max_chats: 'Running chats',
  max_chats_per_subject: 'Running chats of one user',
});

/** Returns the plain name of a limit. @param {string} limit */
export const limitName = (limit) => NAMES[limit] ?? limit.replaceAll('_', ' ');

/** Returns the name of the setting of a limit. @param {string} limit */
export const settingName = (limit) => limit.replaceAll('_', '-');
