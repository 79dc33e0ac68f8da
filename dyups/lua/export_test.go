package lua

// ListenIn is DefaultListen with another folder.
var ListenIn = listenIn
