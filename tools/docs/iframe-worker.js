// Browsers start no Worker from a page on disk (file:). The search runs in a hidden frame instead, with the same interface.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.onmessage = null;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.title = "search";
      document.body.appendChild(this.frame);
      const inner = this.frame.contentWindow;
      const scope = this.frame.contentDocument;
      const answer = (data) => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        if (this.onmessage) this.onmessage(event);
      };
      inner.parentPost = answer;
      inner.importScripts = (...urls) => urls.reduce((before, source) => before.then(() => new Promise((resolve, reject) => {
        const script = scope.createElement("script");
        script.src = source;
        script.onload = resolve;
        script.onerror = reject;
        scope.body.appendChild(script);
      })), Promise.resolve());
      // A worker posts to its owner by postMessage(data); so does the frame.
      inner.postMessage = answer;
      this.ready = inner.importScripts(url);
      this.inner = inner;
    }
    postMessage(data) {
      this.ready.then(() => this.inner.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
