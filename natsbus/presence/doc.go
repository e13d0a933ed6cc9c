// Package presence shows which services are alive.
//
// A [Heartbeat] publishes the status of a service every few seconds, on a subject such as mdhb.collector.tokyo-1, and
// makes it a NATS micro service, so that "nats micro ls" and "nats micro info" find it and a request gets its status.
// A [Watch] knows which services are alive, late or gone. It begins with the last beats in the stream MD_HEARTBEAT.
package presence
