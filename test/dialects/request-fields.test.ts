import t from 'tap';
import { askStreamUsage, readRequestFields, renameModel } from '../../src/dialects/request-fields.ts';
import { splice } from '../../src/dialects/top-level.ts';

const asked = (text: string): string => {
  const body = Buffer.from(text);
  const edit = askStreamUsage(body, readRequestFields(body));
  return splice(body, edit === null ? [] : [edit]).toString();
};

t.test('the fields that the gateway acts on are read, by their types', async (t) => {
  const fields = readRequestFields(
    Buffer.from('{"model":"gpt-\\u0034o","stream":true,"max_tokens":10,"max_completion_tokens":20,"n":"x"}'),
  );
  t.match(fields, { model: 'gpt-4o', isStream: true, maxOutputTokens: 20, asksStreamUsage: false });
  t.match(readRequestFields(Buffer.from('{}')), { model: null, isStream: false, maxOutputTokens: null });
  t.equal(readRequestFields(Buffer.from('{"stream":"true"}')).isStream, false);
  t.equal(readRequestFields(Buffer.from('{"max_tokens":1e400}')).maxOutputTokens, null);
  t.throws(() => readRequestFields(Buffer.from('{"model":7}')), { code: 'REQUEST_INVALID' });
  t.throws(() => readRequestFields(Buffer.from(`{"model":"${'m'.repeat(1100)}"}`)), {
    code: 'REQUEST_INVALID',
  });
});

t.test('the model is renamed in its place, every other byte stays', async (t) => {
  const body = Buffer.from('{ "messages":[{"model":"x"}],\n "model" :  "groq/llama" , "a":1.0}');
  const edit = renameModel(readRequestFields(body), 'lla"ma');
  t.equal(
    splice(body, [edit]).toString(),
    '{ "messages":[{"model":"x"}],\n "model" :  "lla\\"ma" , "a":1.0}',
  );
  t.throws(() => renameModel(readRequestFields(Buffer.from('{}')), 'm'), { code: 'REQUEST_INVALID' });
});

t.test('usage is asked for once, and other options stay', async (t) => {
  t.equal(asked('{"model":"m"}'), '{"stream_options":{"include_usage":true},"model":"m"}');
  t.equal(asked(' { } '), ' {"stream_options":{"include_usage":true} } ');
  t.equal(asked('{"stream_options":null}'), '{"stream_options":{"include_usage":true}}');
  t.equal(asked('{"stream_options":{ }}'), '{"stream_options":{"include_usage":true }}');
  t.equal(asked('{"stream_options":{"x":[1]}}'), '{"stream_options":{"include_usage":true,"x":[1]}}');
  t.equal(
    asked('{"a":1,"stream_options": {"x":1,"include_usage" : false}}'),
    '{"a":1,"stream_options": {"x":1,"include_usage" : true}}',
  );
  for (const same of [
    '{"stream_options":{"include_usage":true,"x":1}}',
    '{"stream_options":"yes"}',
    '{"stream_options":[1]}',
  ]) {
    t.equal(asked(same), same);
  }
  t.throws(() => asked('{"stream_options":{"include_usage":false,"include\\u005fusage":true}}'), {
    code: 'REQUEST_INVALID',
  });
});

t.test('both splices together give valid JSON', async (t) => {
  const body = Buffer.from('{"model":"openai/gpt-4o","stream":true}');
  const fields = readRequestFields(body);
  const edits = [renameModel(fields, 'gpt-4o'), askStreamUsage(body, fields)].filter((edit) => edit !== null);
  t.same(JSON.parse(splice(body, edits).toString()), {
    model: 'gpt-4o',
    stream: true,
    stream_options: { include_usage: true },
  });
});
