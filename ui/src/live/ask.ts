// Asking the node: the reply of the expected kind, or a Fault that carries what happened and what to do.
import { host, type ControlError, type ControlReply, type ControlRequest } from '$host';
import { text } from '$text';

type Kind = ControlReply['reply'];
type Value<K extends Kind> = Extract<ControlReply, { reply: K }> extends { value: infer V } ? V : void;

/** A refusal or failure, as a value that can be thrown. */
export class Fault extends Error {
  constructor(readonly error: ControlError) {
    super(error.what);
  }
}

/** Asks, and takes only a reply of this kind. */
export async function ask<K extends Kind>(request: ControlRequest, expected: K): Promise<Value<K>> {
  let reply: ControlReply;
  try {
    reply = await host().call(request);
  } catch (cause) {
    throw new Fault({ kind: 'failed', what: text.fault.unreachable(words(cause)), todo: text.fault.unreachableTodo });
  }
  if (reply.reply === 'failed') throw new Fault(reply.value);
  if (reply.reply !== expected) {
    throw new Fault({ kind: 'failed', what: text.fault.otherAnswer(expected, reply.reply), todo: text.fault.otherAnswerTodo });
  }
  return ('value' in reply ? reply.value : undefined) as Value<K>;
}

/** What to show of anything that was thrown. */
export function errorOf(thrown: unknown): ControlError {
  if (thrown instanceof Fault) return thrown.error;
  return { kind: 'failed', what: words(thrown), todo: text.fault.unexpectedTodo };
}

function words(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.message;
  return typeof thrown === 'string' ? thrown : JSON.stringify(thrown);
}
