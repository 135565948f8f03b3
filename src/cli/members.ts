import type { Command } from './command.ts';
import { confirm, confirmOption } from './confirmation.ts';
import { exits } from './failure.ts';
import { type Member, userId } from './people.ts';
import { textTable } from './text-table.ts';

const list: Command = {
  words: 'members list',
  doc: 'List who may do what in the workspace.',
  options: {},
  async run(context) {
    const api = await context.api();
    const data = await api.list<Member>('/api/members');
    const rows = data.map((member) => [member.userId, member.name, member.role, member.createdAt]);
    context.print({ data }, textTable(['USER', 'NAME', 'ROLE', 'SINCE'], rows));
    return exits.ok;
  },
};

const set: Command = {
  words: 'members set',
  doc: 'Give a user another role; it counts at once, and who becomes an owner needs a new admin token.',
  argument: 'USER',
  options: { role: { value: 'ROLE', doc: 'owner, admin, member, viewer or auditor', isRequired: true } },
  async run(context) {
    const api = await context.api();
    const id = await userId(api, context.argument);
    const member = await api.call<Member>('PATCH', `/api/members/${id}`, { role: context.text('role') });
    context.print(member, `${member.userId} is ${member.role}.\n`);
    return exits.ok;
  },
};

const rm: Command = {
  words: 'members rm',
  doc: 'Take a user’s role away: his admin tokens are refused, his keys and gateway tokens stay.',
  argument: 'USER',
  options: confirmOption,
  async run(context) {
    const api = await context.api();
    const id = await userId(api, context.argument);
    await confirm(context, async () => {
      const { name, role } = await api.call<Member>('GET', `/api/members/${id}`);
      return `This takes the role ${role} from “${name}”: his admin tokens are refused from now on. His keys and gateway tokens stay.`;
    });
    const gone = await api.call<{ receipt: string }>('DELETE', `/api/members/${id}`);
    context.print(gone, `Taken away. Receipt: ${gone.receipt}\n`);
    return exits.ok;
  },
};

export const memberCommands: readonly Command[] = [list, set, rm];
