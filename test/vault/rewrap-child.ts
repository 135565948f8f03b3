import { text } from 'node:stream/consumers';
import { openStore } from '../../src/db/store.ts';
import { parseKeyring } from '../../src/vault/keyring.ts';
import { rewrap } from '../../src/vault/keyring-rewrap.ts';

/** Seals anew what standard input names, and says after each batch how far it is: to be killed in the middle. */
const { connection, keyring, deploymentId } = JSON.parse(await text(process.stdin));
const store = openStore({ connection });
await rewrap(
  {
    store,
    ring: parseKeyring(keyring, 'stdin'),
    deploymentId,
    batchRows: 20,
    onProgress: ({ rewrapped }) => process.stdout.write(`${rewrapped}\n`),
  },
  new AbortController().signal,
);
await store.close();
