// Package deadletter reads, re-drives and removes dead letters: the messages that a natsbus.Consumer, or another
// program, could not use.
//
//	queue := deadletter.New(js, natsbus.DeadLettersStream(""))
//	for letter, err := range queue.List(ctx, deadletter.Filter{Subject: "md.binance.>"}) { … }
//	report, err := queue.Redrive(ctx, deadletter.Filter{}, deadletter.RedriveConfig{DryRun: true})
//
// [Queue.Redrive] moves letters to the stream MD_REDRIVE, from which only the Consumer of the durable that could not
// use them reads; no other reader sees them. A record arrives with the Origin that it had, so a store still keeps it
// once, but behind later records of its symbol. A letter leaves MD_DLQ when the server has confirmed that MD_REDRIVE
// stored it. One that fails again becomes a letter again, and the number of its re-drives is bounded. A durable that
// is deleted leaves one named STREAM=DURABLE on MD_REDRIVE.
//
// A [Redriver] does this continuously, by a policy for each reason: how often, and how long after the failure. A
// letter that has had all its re-drives stays in MD_DLQ, in quarantine, for a person to look at.
//
// The durables of Consumers have no MaxDeliver, so the server never skips one of their messages. An [AdvisoryWatch]
// makes dead letters of the messages that the durables of other programs have given up.
package deadletter
