import t from 'tap';
import { soak } from './soak.ts';

t.setTimeout(60_000);

// 10 000 by hand: node test/faults/soak.ts 10000
t.test('300 faults leave no socket, no handle and no memory', (t) => soak(t, 200, 300, 10_000));
