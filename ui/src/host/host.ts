// What the pages need from what they run in: the app's window, or a browser with a fake node.
import type { ControlReply, ControlRequest } from './bindings';

/** How far the way to the node is. */
export type Startup =
  | { state: 'starting' }
  /** `hosted`: the node runs in this window's process, and ends with it. */
  | { state: 'ready'; hosted: boolean; profile: string }
  | { state: 'failed'; what: string; todo: string };

export interface Host {
  /** Where the node is: to be polled until it is ready. */
  startup(): Promise<Startup>;
  /** Asks the node. Refusals come as `failed` replies; it rejects only when there is no way to the node. */
  call(request: ControlRequest): Promise<ControlReply>;
  /** A native dialog for a folder; null when the person closed it. */
  chooseFolder(): Promise<string | null>;
  /** Puts a text on the clipboard. */
  copy(text: string): Promise<void>;
  /** Calls back with the path of what was dropped on the window, until the returned function is called. */
  onFolderDropped(callback: (path: string) => void): () => void;
}
