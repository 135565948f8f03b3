import t from 'tap';
import { holdStreams } from './held.ts';

t.setTimeout(60_000);

// 5000 by hand: node test/faults/held.ts 5000
t.test('500 streams are held while small calls go on', (t) => holdStreams(t, 500, 100));
