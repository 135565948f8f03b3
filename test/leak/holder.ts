import { buffer } from 'node:stream/consumers';

// Holds a key, read from standard input, in every form that the search knows: the search has to find each.
const bytes = await buffer(process.stdin);
const key = bytes.toString('latin1');

/** As a server would have it: made at run time, one flat string. */
const held = [
  JSON.stringify({ authorization: `Bearer ${key}` }),
  // One character beyond Latin-1, and V8 keeps the whole string in two bytes each.
  JSON.parse(JSON.stringify(`${key}…`)) as string,
  ...[0, 1, 2].map((shift) => Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64')),
  bytes.toString('hex'),
  bytes.toString('hex').toUpperCase(),
];
process.stdout.write('held\n');
setInterval(() => held.join(''), 2 ** 30);
