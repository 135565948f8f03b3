/**
 * Loaded into the gateway of a soak, and into nothing else: collects all garbage when told by SIGUSR2, so that what is left is what is
 * held. What V8 leaves uncollected for a while goes up and down by more than an hour of a slow leak.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as NodeJS.GCFunction;
// Twice: what finalizers let go of goes with the second.
process.on('SIGUSR2', () => {
  for (let i = 0; i < 2; i += 1) collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
});
