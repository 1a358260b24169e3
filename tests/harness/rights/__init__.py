"""Who may do what, under faults: `badge` is a principal's side of the API, which writes down each try; `registrar` sets
policies and issues and revokes tokens all the time; `guests` try everything, whether or not they may; `judge` has the
rules of the checker that know whether anybody did what it might not.
"""
