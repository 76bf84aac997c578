"""Every decision of the agent, pure: inputs and a moment in, new state and effects out.

`agent.start` and `agent.step` are the door; nothing here reads a clock, a file or a socket.
"""
