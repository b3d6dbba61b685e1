// The host in the app: Tauri's commands and plugins. With the fake it is all that knows the outside.
import { invoke } from '@tauri-apps/api/core';
import { getCurrentWebview } from '@tauri-apps/api/webview';
import { writeText } from '@tauri-apps/plugin-clipboard-manager';
import { open } from '@tauri-apps/plugin-dialog';
import type { Host } from './host';

export function tauriHost(): Host {
  return {
    startup: () => invoke('session'),
    call: (request) => invoke('call', { request }),
    chooseFolder: () => open({ directory: true, multiple: false }),
    copy: (text) => writeText(text),
    onFolderDropped(callback) {
      let stopped = false;
      // Listening is itself asynchronous: whoever stops before it began ends it as soon as it has.
      const listening = getCurrentWebview().onDragDropEvent(({ payload }) => {
        const path = payload.type === 'drop' ? payload.paths[0] : undefined;
        if (path !== undefined && !stopped) callback(path);
      });
      return () => {
        stopped = true;
        void listening.then((unlisten) => unlisten());
      };
    },
  };
}
