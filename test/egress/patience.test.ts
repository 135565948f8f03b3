import t from 'tap';
import { AnswerWait } from '../../src/egress/answer-wait.ts';
import { Patience } from '../../src/egress/patience.ts';

interface Told {
  isHeldUp: boolean;
  readonly late: string[];
}

/** Looks are made when the mocked clock is told to go on. */
function waitOf(patience: Patience, headersMs: number, bodyMs: number): { wait: AnswerWait; told: Told } {
  const told: Told = { isHeldUp: false, late: [] };
  const wait: AnswerWait = new AnswerWait(
    patience,
    { headersMs, bodyMs },
    {
      isHeldUp: () => told.isHeldUp,
      onLate(code) {
        told.late.push(code);
        wait.end();
      },
    },
  );
  return { wait, told };
}

t.test('a head, or more of a body, is waited for as long as is set, and half a second more at most', (t) => {
  const clock = t.capture(globalThis, 'setInterval', ((run: () => void) => {
    look = run;
    return { unref: () => ({}) };
  }) as never);
  let look = (): void => {};
  const looks = (count: number): void => {
    for (let i = 0; i < count; i += 1) look();
  };
  const patience = new Patience();
  const { wait, told } = waitOf(patience, 1000, 500);
  wait.begin();
  t.equal(clock().length, 1, 'one clock');
  looks(4);
  t.same(told.late, [], 'never too early: the call may have begun right before the first look');
  wait.move();
  looks(4);
  t.same(told.late, []);
  looks(1);
  t.same(told.late, ['UPSTREAM_FIRST_BYTE_TIMEOUT']);
  looks(20);
  t.equal(told.late.length, 1, 'once');

  const body = waitOf(patience, 1000, 500);
  body.wait.begin();
  body.wait.moveToBody();
  body.told.isHeldUp = true;
  looks(20);
  t.same(body.told.late, [], 'who holds the answer up himself waits for nobody');
  body.told.isHeldUp = false;
  looks(2);
  t.same(body.told.late, []);
  looks(1);
  t.same(body.told.late, ['UPSTREAM_IDLE_TIMEOUT']);

  const endless = waitOf(patience, 0, 0);
  endless.wait.begin();
  looks(10_000);
  t.same(endless.told.late, [], '0 is no limit');
  t.end();
});
