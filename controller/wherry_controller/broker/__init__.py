"""What the broker is told: logins, access rules and limits. mosquitto's own file formats.

Any MQTT broker will do; for another one the same three facts are carried over by hand.
"""
