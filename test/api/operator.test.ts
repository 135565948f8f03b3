import t from 'tap';
import { createIsOperator } from '../../src/admin/operator.ts';
import { findOperatorCaller } from '../../src/operator-caller.ts';
import { startWorld } from './world.ts';

t.test('whoever is made later is not the operator, whatever the clock says', async (t) => {
  const world = await startWorld(t);
  const operator = await world.callerOf(world.first.adminToken);
  t.equal(operator.isOperator, true);

  // It was ahead when the installation was made, and has been set right since.
  world.time.now -= 2 * 3600 * 1000;
  const made = await world.newWorkspace('later');
  const person = await world.newUser(world.first.adminToken, 'owner', 'later');

  const isOperator = createIsOperator({ store: world.store });
  t.equal(await isOperator(operator.userId), true, 'nor after a start');
  t.match(await findOperatorCaller({ store: world.store }), {
    userId: operator.userId,
    workspaceId: operator.workspaceId,
  });
  for (const token of [made.adminToken, person.token])
    t.equal((await world.call(token, 'GET', '/api/keyring')).status, 403);
  const users = (await world.call(world.first.adminToken, 'GET', '/api/users')).json.data;
  t.same(
    users.map(({ id }: { id: string }) => id),
    [person.id, operator.userId],
    'the newest first',
  );
});
