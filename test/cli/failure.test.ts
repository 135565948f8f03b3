import t from 'tap';
import { exits, failureOf } from '../../src/cli/failure.ts';
import { type ConnectionOptions, withClient } from '../../src/db/connection.ts';
import { emptyDatabase, inDatabase } from '../support/database.ts';

async function faultOf(connection: ConnectionOptions, statement: string): Promise<unknown> {
  return withClient(connection, (client) => client.query(statement)).catch((error: unknown) => error);
}

t.test('what a database refuses at its door is told as its refusal, and may be tried again', async (t) => {
  const connection = await emptyDatabase(t);
  const refused = failureOf(await faultOf(inDatabase(connection, 'nowhere'), 'select 1'));
  t.match(refused, {
    // No supervisor starts a program again that ends with CONFIG_INVALID's 78.
    code: 'GATEWAY_UNREACHABLE',
    exit: exits.unreachable,
    message: 'The database refused the connection: database "nowhere" does not exist.',
    fix: /DATABASE_URL/,
  });

  // What it says to somebody whom it has let in is no matter of the way to it.
  t.match(failureOf(await faultOf(connection, 'select nothing')), { code: 'INTERNAL', exit: exits.refused });
});
