import fc from 'fast-check';
import t from 'tap';
import { Roster, type Seat } from '../src/roster.ts';

t.test('a roster holds those who came and have not left, whatever the order', (t) => {
  const property = fc.property(
    fc.array(fc.tuple(fc.boolean(), fc.nat(1000)), { maxLength: 200 }),
    (steps) => {
      const roster = new Roster<number>();
      const seats: { readonly value: number; readonly seat: Seat }[] = [];
      const gone: Seat[] = [];
      for (const [i, [comes, pick]] of steps.entries()) {
        if (comes || seats.length === 0) seats.push({ value: i, seat: roster.add(i) });
        else {
          const [left] = seats.splice(pick % seats.length, 1);
          left?.seat.leave();
          if (left !== undefined) gone.push(left.seat);
        }
        // To leave again takes nobody else's place.
        gone[pick % (gone.length || 1)]?.leave();
      }
      const held = seats.map(({ value }) => value);
      return (
        roster.size === held.length && new Set(roster.all()).symmetricDifference(new Set(held)).size === 0
      );
    },
  );
  t.doesNotThrow(() => fc.assert(property));
  t.end();
});

t.test('whoever leaves while all are called is called, and nobody twice', (t) => {
  const roster = new Roster<string>();
  const seats = ['a', 'b', 'c', 'd'].map((name) => roster.add(name));
  const called: string[] = [];
  for (const name of roster.all()) {
    called.push(name);
    for (const seat of seats) seat.leave();
  }
  t.same(called.toSorted(), ['a', 'b', 'c', 'd']);
  t.equal(roster.size, 0);
  t.end();
});
