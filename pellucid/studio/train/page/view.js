export function start() { return { render() {}, async opened() {} }; }
